"""How refusals look: one file per gateway."""
