"""From a request to records: plan, features, fit, the one look at test."""
