"""Operations endpoints: health, metrics and the API documentation."""
