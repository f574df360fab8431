"""The REST API below ``/api/v1`` (API-1, API-2, INT-2)."""
