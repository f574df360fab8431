"""The running server: builds every object once, listens, starts and stops.

Begin with ``composition``, which builds the application from a configuration; ``sites`` says what each listener
serves, ``service`` runs it on the reactor, ``tap`` is ``twistd pikachu``, ``log_output`` the log.
"""
