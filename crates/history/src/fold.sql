-- Adds a tally to its step; what one side did not read leaves the other as it is.
INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (level, card, at) DO UPDATE SET
    temperature_weight = coalesce(temperature_weight + excluded.temperature_weight, temperature_weight, excluded.temperature_weight),
    temperature_sum = coalesce(temperature_sum + excluded.temperature_sum, temperature_sum, excluded.temperature_sum),
    temperature_min = coalesce(min(temperature_min, excluded.temperature_min), temperature_min, excluded.temperature_min),
    temperature_max = coalesce(max(temperature_max, excluded.temperature_max), temperature_max, excluded.temperature_max),
    power_weight = coalesce(power_weight + excluded.power_weight, power_weight, excluded.power_weight),
    power_sum = coalesce(power_sum + excluded.power_sum, power_sum, excluded.power_sum),
    power_min = coalesce(min(power_min, excluded.power_min), power_min, excluded.power_min),
    power_max = coalesce(max(power_max, excluded.power_max), power_max, excluded.power_max),
    utilisation_weight = coalesce(utilisation_weight + excluded.utilisation_weight, utilisation_weight, excluded.utilisation_weight),
    utilisation_sum = coalesce(utilisation_sum + excluded.utilisation_sum, utilisation_sum, excluded.utilisation_sum),
    utilisation_min = coalesce(min(utilisation_min, excluded.utilisation_min), utilisation_min, excluded.utilisation_min),
    utilisation_max = coalesce(max(utilisation_max, excluded.utilisation_max), utilisation_max, excluded.utilisation_max),
    vram_weight = coalesce(vram_weight + excluded.vram_weight, vram_weight, excluded.vram_weight),
    vram_sum = coalesce(vram_sum + excluded.vram_sum, vram_sum, excluded.vram_sum),
    vram_min = coalesce(min(vram_min, excluded.vram_min), vram_min, excluded.vram_min),
    vram_max = coalesce(max(vram_max, excluded.vram_max), vram_max, excluded.vram_max),
    limit_weight = coalesce(limit_weight + excluded.limit_weight, limit_weight, excluded.limit_weight),
    limit_sum = coalesce(limit_sum + excluded.limit_sum, limit_sum, excluded.limit_sum),
    limit_min = coalesce(min(limit_min, excluded.limit_min), limit_min, excluded.limit_min),
    limit_max = coalesce(max(limit_max, excluded.limit_max), limit_max, excluded.limit_max)
