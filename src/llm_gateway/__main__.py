"""Makes `python -m llm_gateway` the command line."""

from llm_gateway.cli import main

if __name__ == "__main__":
    main()
