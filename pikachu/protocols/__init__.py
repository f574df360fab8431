"""The protocols of devices: EST, SCEP, OCSP and downloads."""
