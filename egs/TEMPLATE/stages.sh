# shellcheck shell=bash
# What each stage runs; driver.sh sources this.
# shellcheck disable=SC2154 # options are declared in driver.sh and run.sh

# Where cached features lie; a recipe whose frontend is trained says recipe_features= and has none.
cached=(--features dump)
if [ -z "${recipe_features-dump}" ]; then cached=(); fi

sweep() { # one verb over all experiments
    local -a selected=()
    if [ -n "$experiments" ]; then selected=(--select "$experiments"); fi
    run "$@" --config_dir conf --experiments conf/experiments.yaml "${selected[@]}" \
        --seeds "$seeds" --exp_dir "$exp_dir/$scale"
}

stage_data() {
    run local/data.sh --corpus "$corpus" --size "$size" --seed "$corpus_seed" --nj "$nj" \
        --librispeech_root "$librispeech_root" --download "$download" --subsets "$subsets" \
        --alignments "$alignments" --data_root "$data_root"
    run speechlite data check data/*/
}

stage_features() {
    run speechlite data labels data/*/
    run speechlite data dump data/*/ --out_dir dump --config_dir conf --config "pretrain_$scale"
}

stage_pretrain() {
    local -a overrides
    read -ra overrides <<<"$pretrain_overrides"
    sweep "${train_cmd[@]}" speechlite pretrain --config "pretrain_$scale" "${overrides[@]}"
}

stage_compress() {
    local -a overrides
    read -ra overrides <<<"$compress_overrides"
    sweep "${train_cmd[@]}" speechlite compress --scale "$scale" "${overrides[@]}"
}

stage_evaluate() {
    local -a overrides names
    read -ra overrides <<<"$evaluate_overrides"
    IFS=, read -ra names <<<"$tasks"
    names=("${names[@]/#/evaluate_}") && names=("${names[@]/%/_$scale}")
    sweep "${train_cmd[@]}" speechlite evaluate "${cached[@]}" \
        --config "$(IFS=, && printf '%s' "${names[*]}")" "${overrides[@]}"
}

stage_dnn_hmm() {
    local -a overrides
    read -ra overrides <<<"$hmm_overrides"
    sweep "${train_cmd[@]}" speechlite hmm "$hmm_steps" "${cached[@]}" --config "hmm_$scale" \
        "${overrides[@]}"
}

stage_compare() {
    local -a reported=()
    if compgen -G "conf/reported_*.csv" >/dev/null; then reported=(--reported conf/reported_*.csv); fi
    run speechlite compare "$exp_dir/$scale" "${reported[@]}" --claims conf/claims.yaml \
        --out_dir "$exp_dir/$scale" --title "$(basename "$PWD"): $scale"
}
