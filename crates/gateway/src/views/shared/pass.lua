-- Takes the views of one partition from one position to another. KEYS: state, entries. ARGV: from, to, a fresh generation,
-- whether it must begin, TTL of entries and of the state in ms, whether the bodies are there; then per entry its version
-- (empty: remove it) and its body. Answers the entries that are older: without the bodies, nothing was done then.
local from, to = tonumber(ARGV[1]), tonumber(ARGV[2])
local generation, position = state(KEYS[1])
if ARGV[4] == '1' or not generation or position < from then
  redis.call('SET', KEYS[1], ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[6])
  return {-1}
end
local older = {}
for i = 2, #KEYS do
  local number, body = ARGV[4 + 2 * i], ARGV[5 + 2 * i]
  local have = version(KEYS[i], generation)
  if have and (number == '' or have < tonumber(number)) then
    older[#older + 1] = i - 2
    if ARGV[7] == '1' then
      -- One that was not older when the bodies were asked for has none.
      if body == '' then redis.call('DEL', KEYS[i]) else put(KEYS[i], generation, number, body, ARGV[5]) end
    end
  end
end
if #older > 0 and ARGV[7] ~= '1' then return older end
local position_text = position < to and ARGV[2] or string.format('%.0f', position)
redis.call('SET', KEYS[1], generation .. ' ' .. position_text, 'PX', ARGV[6])
return {}
