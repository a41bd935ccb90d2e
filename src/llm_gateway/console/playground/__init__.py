"""Chats through the gateway, as a credential, and why a provider answered them."""
