-- The state of the partition and the entry, at one moment. KEYS: state, entry. ARGV: the most bytes of an entry.
local function text(key, bytes_max)
  local size = redis.pcall('STRLEN', key)
  if type(size) ~= 'number' or size == 0 or size > bytes_max then return false end
  return redis.call('GET', key)
end
return {text(KEYS[1], 256), text(KEYS[2], tonumber(ARGV[1]))}
