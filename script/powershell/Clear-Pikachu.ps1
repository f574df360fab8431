<#
.SYNOPSIS
Removes old events of Pikachu CA.
.DESCRIPTION
Runs `pikachu housekeeping`, after which the audit log still verifies. With -DryRun it only prints what would be removed.
.PARAMETER Config
The configuration of the server.
.PARAMETER EventsOlderThan
The age in days from which events are removed.
.PARAMETER DryRun
Removes nothing.
.EXAMPLE
./script/powershell/Clear-Pikachu.ps1 -EventsOlderThan 365 -DryRun
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)]
    [ValidateRange(1, 36500)]
    [int] $EventsOlderThan,
    [string] $Config = 'config.ini',
    [switch] $DryRun
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Pikachu.psm1') -Force

$options = @()
if ($DryRun) {
    $options += @('--dry-run')
}
Invoke-Pikachu (@('housekeeping', '--events-older-than', $EventsOlderThan, '--config', $Config) + $options)
