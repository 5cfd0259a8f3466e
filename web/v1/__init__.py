"""The endpoints of `/v1`, one noun a module, with their schemas."""
