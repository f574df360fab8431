"""The `pikachu` command."""
