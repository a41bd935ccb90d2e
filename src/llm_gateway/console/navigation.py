"""The sections of the console, as the navigation shows them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Section(NamedTuple):
    """One link of the navigation."""

    title: str
    path: str


class Group(NamedTuple):
    """Links under one heading."""

    title: str
    sections: tuple[Section, ...]


SECTIONS: Final = (
    Group(
        "Use",
        (
            Section("Overview", "/console/overview"),
            Section("Playground", "/console/playground"),
            Section("Requests", "/console/requests"),
            Section("First run", "/console/first-run"),
        ),
    ),
    Group(
        "Route",
        (
            Section("Providers", "/console/providers"),
            Section("Models", "/console/models"),
            Section("Task types", "/console/task-types"),
        ),
    ),
    Group(
        "Control",
        (
            Section("Credentials", "/console/credentials"),
            Section("Tenants", "/console/tenants"),
            Section("Projects", "/console/projects"),
            Section("Budgets", "/console/budgets"),
            Section("Prices", "/console/prices"),
        ),
    ),
    Group(
        "Operate",
        (
            Section("Configuration", "/console/configuration"),
            Section("Sessions", "/console/sessions"),
        ),
    ),
)
