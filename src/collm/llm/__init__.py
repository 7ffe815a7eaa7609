"""Language models: bases, agents and critics on them, decoding and scoring."""
