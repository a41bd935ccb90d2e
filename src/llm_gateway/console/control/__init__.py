"""What is known of credentials, tenants, projects and budgets besides their rows: members, states, balances."""
