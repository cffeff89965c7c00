-- Records that a market said it will never book. They are in no income, and not sent to that market again; another one
-- may know the lease.
ALTER TABLE usage ADD COLUMN refused TEXT;      -- JSON of core::meter::UsageRefusal
ALTER TABLE usage ADD COLUMN refused_by TEXT;   -- the market's address
