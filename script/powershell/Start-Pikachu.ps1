<#
.SYNOPSIS
Starts the Pikachu CA server in the background.
.DESCRIPTION
Runs `pikachu start`. Under systemd use `systemctl start pikachu` instead.
.PARAMETER Config
The configuration of the server.
.EXAMPLE
./script/powershell/Start-Pikachu.ps1 -Config config.ini
#>
[CmdletBinding()]
param(
    [string] $Config = 'config.ini'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

Invoke-Pikachu @('start', '--config', $Config)
