"""The values passed between layers: frozen, without behaviour."""
