#!/usr/bin/env bash
# From the inputs of docker/build-push-action (INPUT_…, set by action.yml) to the flags of cooperage build.
# Values of secrets travel in variables, never in arguments.
set -euo pipefail

temp=$(mktemp -d "${RUNNER_TEMP:-/tmp}/cooperage-build.XXXXXX")
trap 'rm -rf "$temp"' EXIT
arguments=()

input() { # NAME: its value
    local name=INPUT_$1
    printf '%s' "${!name-}"
}

one() { # INPUT FLAG
    local value
    value=$(input "$1")
    if [ -n "$value" ]; then arguments+=("$2=$value"); fi
}

lines() { # INPUT FLAG: a flag for each line
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line#"${line%%[![:space:]]*}"}
        line=${line%"${line##*[![:space:]]}"}
        if [ -n "$line" ]; then arguments+=("$2=$line"); fi
    done < <(input "$1")
}

list() { # INPUT FLAG: a flag for each line, and for each word between commas
    local word
    while IFS= read -r word || [ -n "$word" ]; do
        word=${word//[[:space:]]/}
        if [ -n "$word" ]; then arguments+=("$2=$word"); fi
    done < <(input "$1" | tr ',' '\n')
}

truth() { # INPUT FLAG
    case "$(input "$1")" in
    true | True | TRUE) arguments+=("$2") ;;
    '' | false | False | FALSE) ;;
    *)
        echo "::error::$1 is neither true nor false"
        exit 2
        ;;
    esac
}

list ADD_HOSTS --add-host
list ALLOW --allow
lines ANNOTATIONS --annotation
lines ATTESTS --attest
lines BUILD_ARGS --build-arg
lines BUILD_CONTEXTS --build-context
lines CACHE_FROM --cache-from
lines CACHE_TO --cache-to
one CALL --call
one CGROUP_PARENT --cgroup-parent
one FILE --file
lines LABELS --label
truth LOAD --load
one NETWORK --network
truth NO_CACHE --no-cache
list NO_CACHE_FILTERS --no-cache-filter
lines OUTPUTS --output
list PLATFORMS --platform
truth PULL --pull
truth PUSH --push
lines SECRET_ENVS --secret-env
lines SECRET_FILES --secret-file
one SHM_SIZE --shm-size
lines SSH --ssh
list TAGS --tag
one TARGET --target
list ULIMIT --ulimit
one ISOLATION --isolation
# mode=max, as --attest has it.
provenance=$(input PROVENANCE)
if [ -n "$provenance" ]; then arguments+=("--provenance=${provenance#mode=}"); fi
one SBOM --sbom

# NAME=SOURCE becomes id=NAME,env=SOURCE or id=NAME,src=SOURCE.
for at in "${!arguments[@]}"; do
    value=${arguments[$at]#*=}
    case "${arguments[$at]}" in
    --secret-env=*) arguments[at]="--secret=id=${value%%=*},env=${value#*=}" ;;
    --secret-file=*) arguments[at]="--secret=id=${value%%=*},src=${value#*=}" ;;
    esac
done
number=0
secret() { # ID VALUE
    number=$((number + 1))
    export "COOPERAGE_ACTION_SECRET_$number=$2"
    arguments+=("--secret=id=$1,env=COOPERAGE_ACTION_SECRET_$number")
}
# A line NAME=VALUE each; a value of several lines stands between double quotes, with "" for one in it.
name='' value='' open=false
while IFS= read -r line || [ -n "$line" ]; do
    if $open; then
        value+=$'\n'$line
    else
        [ -n "${line//[[:space:]]/}" ] || continue
        line=${line#"${line%%[![:space:]]*}"}
        quote=false
        case "$line" in \"*) quote=true line=${line#\"} ;; esac
        case "$line" in
        *=*) ;;
        *)
            echo "::error::a line of secrets is not NAME=VALUE"
            exit 2
            ;;
        esac
        name=${line%%=*} value=${line#*=}
        $quote || {
            secret "$name" "$value"
            continue
        }
        open=true
    fi
    case "${value//\"\"/}" in
    *\")
        value=${value%\"}
        secret "$name" "${value//\"\"/\"}"
        open=false
        ;;
    esac
done < <(input SECRETS)
if $open; then
    echo "::error::a value of secrets has no closing quote"
    exit 2
fi
if [ -n "$(input BUILDER)" ]; then
    echo "::notice::the input builder has no meaning for cooperage: there is no daemon"
fi

# The commit of the job, from its repository.
default="${GITHUB_SERVER_URL:-https://github.com}/${GITHUB_REPOSITORY:-}.git#${GITHUB_SHA:-}"
context=$(input CONTEXT)
context=${context:-"{{defaultContext}}"}
case "$context" in
"{{defaultContext}}"*)
    rest=${context#"{{defaultContext}}"}
    context=$default$rest
    ;;
esac
for at in "${!arguments[@]}"; do
    arguments[at]=${arguments[$at]//"{{defaultContext}}"/$default}
done
case "$context" in
http://* | https://*)
    token=$(input GITHUB_TOKEN)
    if [ -n "$token" ]; then
        # For that host alone: a context may lie elsewhere.
        host=${GITHUB_SERVER_URL:-https://github.com}
        secret "GIT_AUTH_TOKEN.${host#*://}" "$token"
    fi
    ;;
esac
unset INPUT_GITHUB_TOKEN INPUT_SECRETS

status=0
cooperage build "--iidfile=$temp/iid" "--metadata-file=$temp/metadata" ${arguments[@]+"${arguments[@]}"} "$context" || status=$?
[ "$status" = 0 ] || exit "$status"

output=${GITHUB_OUTPUT:-/dev/null}
if [ -s "$temp/iid" ]; then
    echo "imageid=$(cat "$temp/iid")" >>"$output"
fi
if [ -s "$temp/metadata" ]; then
    digest=$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]*\)".*/\1/p' "$temp/metadata" | head -n 1)
    echo "digest=$digest" >>"$output"
    mark="metadata-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"
    { echo "metadata<<$mark"; cat "$temp/metadata"; echo; echo "$mark"; } >>"$output"
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -n "$digest" ]; then
        {
            echo "| image | digest |"
            echo "|---|---|"
            input TAGS | tr ',' '\n' | while IFS= read -r tag || [ -n "$tag" ]; do
                tag=${tag//[[:space:]]/}
                if [ -n "$tag" ]; then echo "| $tag | \`$digest\` |"; fi
            done
        } >>"$GITHUB_STEP_SUMMARY"
    fi
fi
