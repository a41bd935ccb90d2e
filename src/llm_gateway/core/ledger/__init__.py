"""The facts about requests and their attempts that are recorded, and what was used."""
