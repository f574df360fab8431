"""pikachu.http."""
