"""``config.ini`` as typed, frozen values; :func:`pikachu.config.loading.load` reads it."""
