<#
.SYNOPSIS
Sets the role id and the secret id with which Pikachu CA signs in to Vault.
.DESCRIPTION
Prompts for both without echo and passes them to `pikachu vault credentials` on standard input, never on a command line.
The command proves them by a login and writes the file that [VAULT] credentials_file names, readable by its owner alone.
.PARAMETER RoleId
The AppRole's role id, as a secure string.
.PARAMETER SecretId
The AppRole's secret id, as a secure string.
.PARAMETER Config
The configuration of the server.
.PARAMETER NoLogin
Writes them without a login.
.EXAMPLE
./script/powershell/Set-VaultCredential.ps1
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)]
    [securestring] $RoleId,
    [Parameter(Mandatory = $true)]
    [securestring] $SecretId,
    [string] $Config = 'config.ini',
    [switch] $NoLogin
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

$credentials = "{0}`n{1}" -f (ConvertTo-PlainText $RoleId), (ConvertTo-PlainText $SecretId)
if ($NoLogin) {
    Invoke-Pikachu @('vault', 'credentials', '--no-login', '--config', $Config) -InputText $credentials
}
else {
    Invoke-Pikachu @('vault', 'credentials', '--config', $Config) -InputText $credentials
}
