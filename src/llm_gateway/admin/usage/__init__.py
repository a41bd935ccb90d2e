"""What was asked, answered and used."""
