<#
.SYNOPSIS
Starts a Vault or OpenBao server on this machine, and unseals it.
.DESCRIPTION
Runs `pikachu vault start`, and with -Unseal `pikachu vault unseal`, which prompts for the unseal keys. The server runs
with a configuration and data of its own; it is no development server.
.PARAMETER ServerConfig
The configuration of the Vault server, such as vault.hcl.
.PARAMETER Config
The configuration of Pikachu CA, whose [VAULT] address names the server.
.PARAMETER Unseal
Prompts for the unseal keys after the start.
.EXAMPLE
./script/powershell/Start-Vault.ps1 -ServerConfig vault.hcl -Unseal
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)]
    [string] $ServerConfig,
    [string] $Config = 'config.ini',
    [switch] $Unseal
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

Invoke-Pikachu @('vault', 'start', '--server-config', $ServerConfig, '--config', $Config)
if ($Unseal) {
    Invoke-Pikachu @('vault', 'unseal', '--config', $Config)
}
