"""The file from outside: inspection, doctor, vacuum."""
