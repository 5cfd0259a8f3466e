"""What is done to banks and voices as a whole: each change with its snapshot and audit line; deletion."""
