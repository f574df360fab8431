<#
.SYNOPSIS
Makes the CA and its database, or what is missing of them.
.DESCRIPTION
Runs `pikachu init`: the secret key, the CAs, the database, the HTTPS certificate and the account admin. What exists is
left as it is. Without a password file, admin's password is random and printed once.
.PARAMETER Config
The configuration of the server.
.PARAMETER HostName
A name or address of this server for its HTTPS certificate.
.PARAMETER AdminPasswordFile
A file whose first line is admin's password.
.EXAMPLE
./script/powershell/Initialize-Database.ps1 -HostName ca.example.com
#>
[CmdletBinding()]
param(
    [string] $Config = 'config.ini',
    [string[]] $HostName = @(),
    [string] $AdminPasswordFile = ''
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

$options = @()
foreach ($name in $HostName) {
    $options += @('--hostname', $name)
}
if ($AdminPasswordFile -ne '') {
    $options += @('--admin-password-file', $AdminPasswordFile)
}
Invoke-Pikachu (@('init', '--config', $Config) + $options)
