-- Keeps what a retrieve gave. KEYS: state, entry. ARGV: position that it reflects, version, body, TTL in ms.
-- Refused where the partition is further: a newer view may have passed meanwhile, and be evicted again.
local generation, position = state(KEYS[1])
if not generation then return 'lost' end
if position > tonumber(ARGV[1]) then return 'late' end
local have = version(KEYS[2], generation)
if have and have >= tonumber(ARGV[2]) then return 'known' end
put(KEYS[2], generation, ARGV[2], ARGV[3], ARGV[4])
return 'kept'
