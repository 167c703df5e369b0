-- Forwards every new instance to the modality FIRSTREAD, at once, and keeps trying what it did not take.
--
-- Instances that came from FIRSTREAD are its results and stay here: that is what ends the loop. Each study has at most
-- one running job; what arrives meanwhile goes with the next one. What a failed job did not send is owed, and is tried
-- again when anything arrives or gets through, with every heartbeat (Orthanc 1.11 and later) and at start. Owed studies
-- take turns, and so do the instances of one, so that none that is refused holds back the others.

local ALIAS = 'FIRSTREAD'
local AE_TITLE = GetOrthancConfiguration()['DicomModalities'][ALIAS]['AET']

local running = {}  -- job -> { study = ..., instances = ... }
local busy = {}     -- study -> true while one of its jobs runs
local waiting = {}  -- study -> instances that arrived meanwhile
local owed = {}     -- study -> instances that were not taken
local turns = {}    -- owed studies, the next one to try first

local function get(uri)
  return ParseJson(RestApiGet(uri, false))
end

local function append(list, items)
  list = list or {}
  for _, item in ipairs(items) do
    table.insert(list, item)
  end
  return list
end

local function forward(study, instances)
  local order = DumpJson({ Resources = instances, Asynchronous = true }, false)
  local job = ParseJson(RestApiPost('/modalities/' .. ALIAS .. '/store', order, false))['ID']
  running[job] = { study = study, instances = instances }
  busy[study] = true
end

local function owe(study, instances, because)
  if not owed[study] then
    print('firstread: ' .. because .. '; study ' .. study .. ' will be sent again')
    table.insert(turns, study)
  end
  owed[study] = append(append(owed[study], instances), waiting[study] or {})
  waiting[study] = nil
end

local function try_next_owed()
  local study = table.remove(turns, 1)
  if study then
    local instances = owed[study]
    owed[study] = nil
    if not pcall(forward, study, instances) then
      print('firstread: study ' .. study .. ' is no longer here and was not forwarded')
    end
  end
end

local function finish(job)
  local done = running[job]
  if done then
    running[job], busy[done.study] = nil, nil
  end
  return done
end

function OnStoredInstance(instance, tags, metadata, origin)
  if origin['RemoteAet'] == AE_TITLE then
    return
  end
  local study = get('/instances/' .. instance .. '/study')['ID']
  if owed[study] then
    table.insert(owed[study], instance)
  elseif busy[study] then
    waiting[study] = append(waiting[study], { instance })
  else
    forward(study, { instance })
  end
  try_next_owed()
end

function OnJobSuccess(job)
  local done = finish(job)
  if not done then
    return
  end
  local more = waiting[done.study]
  waiting[done.study] = nil
  if more then
    forward(done.study, more)
  end
  try_next_owed()
end

-- A job stops at the first instance that is not taken: that one goes to the end.
function OnJobFailure(job)
  local done = finish(job)
  if not done then
    return
  end
  local count = #done.instances
  local percent = get('/jobs/' .. job)['Progress']  -- rounded: a few may be sent twice, which does no harm
  local taken = math.min(count - 1, math.max(0, math.floor(count * (percent - 1) / 100)))
  local rest = {}
  for i = taken + 2, count do
    table.insert(rest, done.instances[i])
  end
  table.insert(rest, done.instances[taken + 1])
  owe(done.study, rest, ALIAS .. ' did not take everything')
end

function OnHeartBeat()
  try_next_owed()
end

local function came_from_firstread(instance)
  for _, name in ipairs(get('/instances/' .. instance .. '/metadata')) do
    if name == 'RemoteAET' then
      return RestApiGet('/instances/' .. instance .. '/metadata/RemoteAET', false) == AE_TITLE
    end
  end
  return false
end

-- Failed and unfinished jobs survive a restart, this script's memory does not: their studies are owed as a whole.
function Initialize()
  for _, job in ipairs(get('/jobs?expand')) do
    local content = job['Content']
    if job['Type'] == 'DicomModalityStore' and content['RemoteAet'] == AE_TITLE and job['State'] ~= 'Success' then
      local known, study = pcall(get, '/instances/' .. tostring((content['ParentResources'] or {})[1]) .. '/study')
      if known and study and not owed[study['ID']] then
        local instances = {}
        for _, instance in ipairs(get('/studies/' .. study['ID'] .. '/instances')) do
          if not came_from_firstread(instance['ID']) then
            table.insert(instances, instance['ID'])
          end
        end
        owe(study['ID'], instances, 'a job did not end before the restart')
      end
    end
  end
  try_next_owed()
end
