"""What people and scripts use: pages and the REST API."""
