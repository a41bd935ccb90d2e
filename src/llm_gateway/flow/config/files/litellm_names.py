"""LiteLLM's names for providers and fields: what they become here, or why nothing becomes of them."""

from __future__ import annotations

from typing import Final

# Prefixes of `litellm_params.model` and the kinds that they mean.
KINDS: Final = {
    "openai": "openai", "custom_openai": "openai", "openai_like": "openai", "text-completion-openai": "openai",
    "litellm_proxy": "openai", "hosted_vllm": "vllm", "vllm": "vllm", "azure": "azure", "azure_text": "azure",
    "anthropic": "anthropic", "gemini": "gemini", "mistral": "mistral", "codestral": "mistral",
    "deepseek": "deepseek", "ollama": "ollama", "ollama_chat": "ollama", "groq": "groq", "together_ai": "together",
    "xai": "xai", "fireworks_ai": "fireworks", "cerebras": "cerebras", "perplexity": "perplexity",
    "openrouter": "openrouter", "lm_studio": "lmstudio", "llamafile": "llamacpp", "xinference": "openai",
}  # fmt: skip
# The variables that LiteLLM takes a key from when a deployment has none.
KEY_VARIABLES: Final = {
    "openai": "OPENAI_API_KEY", "azure": "AZURE_API_KEY", "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY", "mistral": "MISTRAL_API_KEY", "deepseek": "DEEPSEEK_API_KEY",
    "groq": "GROQ_API_KEY", "together": "TOGETHERAI_API_KEY", "xai": "XAI_API_KEY",
    "fireworks": "FIREWORKS_AI_API_KEY", "cerebras": "CEREBRAS_API_KEY", "perplexity": "PERPLEXITYAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}  # fmt: skip
# Prefixes of providers that no kind of the gateway stands for.
FOREIGN: Final = frozenset({
    "bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "palm",
    "cohere", "cohere_chat", "huggingface", "replicate", "ai21", "ai21_chat", "watsonx", "watsonx_text",
    "databricks", "cloudflare", "nlp_cloud", "aleph_alpha", "petals", "oobabooga", "predibase", "triton",
    "friendliai", "nvidia_nim", "sambanova", "github", "github_copilot", "azure_ai", "volcengine",
    "anyscale", "deepinfra", "baseten", "voyage", "jina_ai", "snowflake", "oci", "dashscope", "moonshot",
    "novita", "hyperbolic", "nebius", "custom", "maritalk", "clarifai",
})  # fmt: skip
# Names without a prefix, by how they begin.
BARE: Final = (
    ("claude", "anthropic"), ("gpt-", "openai"), ("chatgpt-", "openai"), ("o1", "openai"), ("o3", "openai"),
    ("o4", "openai"), ("text-embedding-", "openai"), ("ft:", "openai"), ("davinci", "openai"),
    ("babbage", "openai"),
)  # fmt: skip
# Models for images and speech.
UNSERVED: Final = ("dall-e", "gpt-image", "whisper", "tts-")
# USD per token; the units that the price book has for them.
COSTS: Final = {
    "input_cost_per_token": "input_tokens",
    "output_cost_per_token": "output_tokens",
    "cache_read_input_token_cost": "cache_read_tokens",
    "cache_creation_input_token_cost": "cache_write_tokens",
}
STRATEGIES: Final = {
    "simple-shuffle": "weighted_random",
    "least-busy": "least_busy",
}

_NO_PARAMETERS = "the gateway adds no parameters to requests; clients send their own"
_PER_KEY = "limits are those of credentials: set them there, or in a budget"
_NO_LOGS = "usage rows, the access log and /metrics have every request"
_OPERATOR = "an operator's setting: see docs/settings.md"
_NO_CACHE = "caching is set for a model or a credential, in `cache`"

# Fields of one deployment, of its information and of settings that have no counterpart, and why.
DROPPED: Final = {
    **dict.fromkeys(
        ("temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "seed", "stop", "n", "tools",
         "frequency_penalty", "presence_penalty", "response_format", "extra_body", "reasoning_effort", "thinking",
         "num_ctx", "additional_drop_params", "user", "stream", "modalities"), _NO_PARAMETERS,
    ),
    **dict.fromkeys(("extra_headers", "default_headers", "headers"), "providers get no headers beside the usual"),
    **dict.fromkeys(
        ("rpm", "tpm", "max_parallel_requests", "max_budget", "budget_duration", "default_team_settings",
         "default_internal_user_params", "max_internal_user_budget", "upperbound_key_generate_params"), _PER_KEY,
    ),
    **dict.fromkeys(
        ("callbacks", "success_callback", "failure_callback", "service_callback", "service_callbacks", "alerting",
         "alerting_threshold", "set_verbose", "json_logs", "turn_off_message_logging", "telemetry",
         "store_prompts_in_spend_logs", "disable_spend_logs", "debug_level", "alert_types", "langfuse_default_tags",
         "redact_user_api_key_info"), _NO_LOGS,
    ),
    **dict.fromkeys(("cache", "cache_params", "enable_caching_on_provider_specific_optional_params"), _NO_CACHE),
    "num_retries": "retries are those of the setting MAX_RETRIES, or of a model's `retry`",
    **dict.fromkeys(
        ("timeout", "stream_timeout"), "see the setting LLM_TIMEOUT, and `timeouts` of a model"
    ),
    "request_timeout": "the timeout of all models is the setting LLM_TIMEOUT",
    "retry_after": "waits before retries are the settings INITIAL_BACKOFF, MAX_BACKOFF and BACKOFF_FACTOR",
    "retry_policy": "which errors are retried is not configurable; MAX_RETRIES says how often",
    "model_group_retry_policy": "which errors are retried is not configurable; MAX_RETRIES says how often",
    **dict.fromkeys(
        ("allowed_fails", "cooldown_time", "allowed_fails_policy", "disable_cooldowns"),
        "circuit breakers leave failing deployments alone; they need no settings",
    ),
    **dict.fromkeys(
        ("redis_host", "redis_port", "redis_password", "redis_url"), "Redis is named by the setting REDIS_URL"
    ),
    **dict.fromkeys(
        ("routing_strategy_args", "enable_pre_call_checks", "optional_pre_call_checks", "enable_tag_filtering",
         "tags", "default_litellm_params", "set_custom_routing_strategy"), "routing has no such option",
    ),
    "drop_params": "fields that a provider cannot take are refused or named in a header, never dropped silently",
    "modify_params": "requests are passed on as they are",
    "organization": "the gateway sends no organization; a key belongs to one",
    "master_key": "the admin key is the setting ADMIN_KEY; clients get credentials of their own",
    "database_url": "the database is named by the setting DB_URL",
    "store_model_in_db": "the catalog is always in the database",
    "completion_model": "every request names its model",
    **dict.fromkeys(
        ("mode", "id", "version", "max_input_tokens", "max_output_tokens", "metadata", "description", "created_at",
         "supports_vision", "supports_function_calling", "supports_prompt_caching", "team_id", "access_groups",
         "health_check_timeout", "db_model"), "the gateway keeps no information about models",
    ),
    "base_model": "the price book is asked for the name that is sent to the provider; set price_provider, or a price",
}  # fmt: skip
# Of everything else in these sections.
OTHERWISE: Final = {
    "litellm_params": "the gateway has no such option of a deployment",
    "model_info": "the gateway keeps no information about models",
    "litellm_settings": _OPERATOR,
    "router_settings": "routing has no such option",
    "general_settings": _OPERATOR,
    "environment_variables": "set variables in the environment, or in .env",
}
