<#
.SYNOPSIS
Runs the command `pikachu` for the scripts in this folder.
#>
Set-StrictMode -Version Latest

function Get-PikachuProgram {
    <#
    .SYNOPSIS
    Returns the path of the command: of the environment variable PIKACHU, of the virtual environment of this clone, or
    the one in PATH.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param()

    if ($env:PIKACHU) {
        return $env:PIKACHU
    }
    $root = Split-Path -Parent (Split-Path -Parent $PSScriptRoot)
    $program = Join-Path (Join-Path (Join-Path $root '.venv') 'bin') 'pikachu'
    if (Test-Path -LiteralPath $program -PathType Leaf) {
        return $program
    }
    $command = Get-Command -Name 'pikachu' -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
    if ($null -eq $command) {
        throw 'The command pikachu is not installed; run ./script/server once, or name it in the environment variable PIKACHU.'
    }
    return $command.Source
}

function Invoke-Pikachu {
    <#
    .SYNOPSIS
    Runs the command with the given arguments and ends the script with its exit code when it fails.
    .PARAMETER InputText
    What the command reads from standard input.
    #>
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true, Position = 0)]
        [string[]] $Arguments,
        [string] $InputText
    )

    $program = Get-PikachuProgram
    if ($PSBoundParameters.ContainsKey('InputText')) {
        $InputText | & $program @Arguments
    }
    else {
        & $program @Arguments
    }
    if ($LASTEXITCODE -ne 0) {
        exit $LASTEXITCODE
    }
}

function ConvertTo-PlainText {
    <#
    .SYNOPSIS
    Returns the text of a secure string.
    #>
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)]
        [securestring] $Secret
    )

    return [System.Net.NetworkCredential]::new('', $Secret).Password
}

Export-ModuleMember -Function @('Invoke-Pikachu', 'ConvertTo-PlainText')
