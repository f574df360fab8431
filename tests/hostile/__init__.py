"""Worst cases against a real server: nobody else waits, memory comes back, and no answer is a 500."""
