"""Speaker recognition as a service: enrol people, then name who is speaking."""
