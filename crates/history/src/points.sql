-- The points of an answer, one a span.
SELECT (at - ?3) / ?4 AS span,
    sum(temperature_weight), sum(temperature_sum), min(temperature_min), max(temperature_max),
    sum(power_weight), sum(power_sum), min(power_min), max(power_max),
    sum(utilisation_weight), sum(utilisation_sum), min(utilisation_min), max(utilisation_max),
    sum(vram_weight), sum(vram_sum), min(vram_min), max(vram_max),
    sum(limit_weight), sum(limit_sum), min(limit_min), max(limit_max)
FROM history
WHERE level = ?1 AND card = ?2 AND at >= ?3 AND at < ?5
GROUP BY span
ORDER BY span
