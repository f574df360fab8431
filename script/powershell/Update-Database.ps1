<#
.SYNOPSIS
Brings the database to the form that the installed version of Pikachu CA needs.
.DESCRIPTION
Runs `pikachu migrate`. Stop the server and make a backup first. With -Check nothing is changed, and the exit code is 1
unless the database is current.
.PARAMETER Config
The configuration of the server.
.PARAMETER Check
Only prints the state of the database.
.EXAMPLE
./script/powershell/Update-Database.ps1 -Check
#>
[CmdletBinding()]
param(
    [string] $Config = 'config.ini',
    [switch] $Check
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

if ($Check) {
    Invoke-Pikachu @('migrate', '--check', '--config', $Config)
}
else {
    Invoke-Pikachu @('migrate', '--config', $Config)
}
