"""Views for operators: statistics, readiness, the feed of events, audit verification, log and configuration."""
