"""What budgets have spent and what machines hold of them, in the database."""
