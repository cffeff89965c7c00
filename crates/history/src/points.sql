-- The points of an answer, one a span, as one text: as rows of their own they take longer to hand over than to find.
-- Least, mean and most of each quantity, in whole hundredths.
SELECT json_group_array(json(point)) FROM (
SELECT json_array((at - ?3) / ?4,
    cast(round(100 * min(temperature_min)) AS INTEGER),
    cast(round(100 * sum(temperature_sum) / sum(temperature_weight)) AS INTEGER),
    cast(round(100 * max(temperature_max)) AS INTEGER),
    cast(round(100 * min(power_min)) AS INTEGER),
    cast(round(100 * sum(power_sum) / sum(power_weight)) AS INTEGER),
    cast(round(100 * max(power_max)) AS INTEGER),
    cast(round(100 * min(utilisation_min)) AS INTEGER),
    cast(round(100 * sum(utilisation_sum) / sum(utilisation_weight)) AS INTEGER),
    cast(round(100 * max(utilisation_max)) AS INTEGER),
    cast(round(100 * min(vram_min)) AS INTEGER),
    cast(round(100 * sum(vram_sum) / sum(vram_weight)) AS INTEGER),
    cast(round(100 * max(vram_max)) AS INTEGER),
    cast(round(100 * min(limit_min)) AS INTEGER),
    cast(round(100 * sum(limit_sum) / sum(limit_weight)) AS INTEGER),
    cast(round(100 * max(limit_max)) AS INTEGER)) AS point
FROM history
WHERE level = ?1 AND card = ?2 AND at >= ?3 AND at < ?5
GROUP BY (at - ?3) / ?4
ORDER BY (at - ?3) / ?4)
