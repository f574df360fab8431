"""The values that layers hand to each other: frozen, without behaviour of their own."""
