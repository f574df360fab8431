<#
.SYNOPSIS
Stops the Pikachu CA server that Start-Pikachu.ps1 has started.
.DESCRIPTION
Runs `pikachu stop`, which lets requests in flight finish and waits until the server has ended.
.PARAMETER Config
The configuration of the server.
.EXAMPLE
./script/powershell/Stop-Pikachu.ps1 -Config config.ini
#>
[CmdletBinding()]
param(
    [string] $Config = 'config.ini'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

Invoke-Pikachu @('stop', '--config', $Config)
