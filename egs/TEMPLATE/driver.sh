# shellcheck shell=bash
# The stages that every recipe shares. A recipe's run.sh declares its own options, then sources this.
# shellcheck disable=SC2154 # recipe_stages, tasks and experiments are declared in run.sh
# Options are read as --name value or --name=value; dashes equal underscores.

stage=data # first stage, by number or name
stop_stage=compare # last stage, by number or name
corpus=mini # mini (synthesised here), librispeech, or kaldi (any Kaldi-style directories)
size=mini # size of the mini corpus: tiny, mini or small
corpus_seed=1 # seed of the mini corpus
librispeech_root= # folder that holds LibriSpeech/, for --corpus librispeech
download=false # true downloads LibriSpeech first
subsets= # LibriSpeech subsets joined by commas; empty takes all that are there
alignments= # folder of <subset>.phones.ctm files for LibriSpeech
data_root= # folder of Kaldi-style directories, for --corpus kaldi
scale=mini # which configurations: conf/pretrain_<scale>.yaml, conf/evaluate_<task>_<scale>.yaml
seeds=1 # seeds joined by commas
exp_dir=exp # where models, logs and records go
pretrain_overrides= # options of pretraining, joined by spaces: trainer.max_steps=100 ...
compress_overrides= # options of training in compression, joined by spaces
evaluate_overrides= # options of evaluation, joined by spaces
hmm_steps=all # steps of stage dnn_hmm joined by commas: lang, lm, gmm, tdnn, graph, decode, rescore
hmm_overrides= # options of stage dnn_hmm, joined by spaces
nj=0 # processes of data preparation; 0 takes all cores
dry_run=false # true (or --dry_run alone) prints what would run and writes nothing

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_stages=(data features pretrain compress evaluate dnn_hmm compare)
started=$SECONDS

fail() { printf 'run.sh: error: %s\n' "$1" >&2 && exit 2; }

declared() { # name, default and comment of every option
    sed -nE 's/^([a-z_]+)=([^#]*[^# ])? *# (.*)$/\1\x1f\2\x1f\3/p' run.sh "$template/driver.sh"
}

usage() {
    sed -nE '2,/^[^#]/s/^# ?//p' run.sh
    printf '\nStages: %s\n\nOptions:\n' "${recipe_stages[*]}"
    declared | while IFS=$'\x1f' read -r name default comment; do
        printf '  --%-20s %s (default: %s)\n' "$name" "$comment" "${default:-none}"
    done
}

parse_options() {
    local name value names
    names=" $(declared | cut -d $'\x1f' -f 1 | tr '\n' ' ')"
    while [ $# -gt 0 ]; do
        case "$1" in
            --help | -h) usage && exit 0 ;;
            --*=*) name=${1%%=*} value=${1#*=} && shift ;;
            --dry_run | --dry-run)
                name=--dry_run value=true && shift
                if [ "${1:-}" = true ] || [ "${1:-}" = false ]; then value=$1 && shift; fi
                ;;
            --*)
                [ $# -ge 2 ] || fail "option $1 has no value; write $1 VALUE"
                name=$1 value=$2 && shift 2
                ;;
            *) fail "unexpected argument '$1'; options begin with --, see --help" ;;
        esac
        name=${name#--} && name=${name//-/_}
        [[ $name =~ ^[a-z_]+$ && $names == *" $name "* ]] || fail "unknown option --$name; see --help"
        printf -v "$name" '%s' "$value"
    done
}

stage_number() { # number of a stage given by number or name
    local index
    for index in "${!all_stages[@]}"; do
        if [ "$1" = "$((index + 1))" ] || [ "$1" = "${all_stages[$index]}" ]; then
            [[ " ${recipe_stages[*]} " == *" ${all_stages[$index]} "* ]] ||
                fail "this recipe has no stage $1; its stages are: $(stage_list)"
            printf '%s' "$((index + 1))" && return
        fi
    done
    fail "unknown stage '$1'; the stages are: $(stage_list)"
}

stage_list() {
    local index
    for index in "${!all_stages[@]}"; do
        if [[ " ${recipe_stages[*]} " == *" ${all_stages[$index]} "* ]]; then
            printf '%s %s  ' "$((index + 1))" "${all_stages[$index]}"
        fi
    done
}

run() { # say and do; only say in a dry run
    printf '+ %s\n' "$(printf '%q ' "$@")" >&2
    if [ "$dry_run" != true ]; then "$@"; fi
}

# shellcheck source=egs/TEMPLATE/stages.sh
. "$template/stages.sh"

main() {
    local first last index name
    parse_options "$@"
    first=$(stage_number "$stage")
    last=$(stage_number "$stop_stage")
    [ "$first" -le "$last" ] || fail "no stage from '$stage' to '$stop_stage'; $(stage_list)"
    # shellcheck source=egs/TEMPLATE/cmd.sh
    . "$template/cmd.sh"
    # shellcheck source=egs/TEMPLATE/path.sh
    if [ "$dry_run" != true ]; then . "$template/path.sh"; fi
    for index in "${!all_stages[@]}"; do
        name=${all_stages[$index]}
        if [ "$((index + 1))" -lt "$first" ] || [ "$((index + 1))" -gt "$last" ]; then continue; fi
        if [[ " ${recipe_stages[*]} " != *" $name "* ]]; then continue; fi
        printf '%s stage %s %s\n' "$(date +%Y-%m-%dT%H:%M:%S)" "$((index + 1))" "$name" >&2
        "stage_$name"
    done
    printf 'Successfully finished. [elapsed=%ss]\n' "$((SECONDS - started))" >&2
}
