local function state(key)
  local text = redis.pcall('GET', key)
  if type(text) ~= 'string' then return nil end
  local generation, position = string.match(text, '^(%x+) (%d+)$')
  return generation, tonumber(position)
end
-- The version of an entry of this generation; any other is as good as none.
local function version(key, generation)
  local head = redis.pcall('GETRANGE', key, 0, 63)
  if type(head) ~= 'string' then return nil end
  local of, number = string.match(head, '^dos1 (%x+) (%d+)\n')
  if of ~= generation then return nil end
  return tonumber(number)
end
local function put(key, generation, number, body, ttl)
  redis.call('SET', key, 'dos1 ' .. generation .. ' ' .. number .. '\n' .. body, 'PX', ttl)
end
