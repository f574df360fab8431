"""CA certificates, CRLs and certificate status over plain GET."""
