<#
.SYNOPSIS
Stops the Vault server that Start-Vault.ps1 has started.
.DESCRIPTION
Runs `pikachu vault stop`, which waits until the server has ended. Vault is sealed afterwards.
.PARAMETER Config
The configuration of Pikachu CA.
.EXAMPLE
./script/powershell/Stop-Vault.ps1
#>
[CmdletBinding()]
param(
    [string] $Config = 'config.ini'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

Invoke-Pikachu @('vault', 'stop', '--config', $Config)
