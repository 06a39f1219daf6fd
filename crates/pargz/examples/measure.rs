//! Measures the crate on a file: `cargo run --release -p pargz --example measure -- FILE [ROUNDS [WHAT]]`.
//!
//! WHAT is `fast`, `levels`, `inflate` or `all`. Prints, for each level and number of threads, the best of ROUNDS (5)
//! of compressing from memory into a sink that discards, and of every way back. Other work on the machine only ever
//! makes a run slower, so the best is the figure to compare; on a busy machine the CPU time beside it (of all threads,
//! least of the rounds, in steps of 10 ms) says more.
#![allow(clippy::print_stdout)]

use std::{
    io::{self, Read},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use pargz::{Compressor, IndexedInflater, Inflater, Level, Meters, Summary};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a file")?;
    let rounds: usize = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let what = arguments.next().unwrap_or_else(|| "all".to_owned());
    let data = std::fs::read(path)?;
    let cores = std::thread::available_parallelism()?.get();

    let levels: &[Level] = match what.as_str() {
        "inflate" => &[],
        "fast" => &[Level::Fast],
        _ => &[Level::Fast, Level::Balanced, Level::Small],
    };
    for &level in levels {
        let rounds = if level == Level::Small { 1 } else { rounds };
        for threads in 1..=cores {
            compressing(&data, level, threads, rounds)?;
        }
    }
    if matches!(what.as_str(), "fast" | "levels") {
        return Ok(());
    }
    let mut member = Vec::new();
    let (summary, _) = run(&data, Level::Fast, cores, &mut member)?;
    for threads in 1..=cores {
        inflating(&member, &summary, threads, rounds)?;
    }
    streaming(&member, &data, rounds)
}

fn run(data: &[u8], level: Level, threads: usize, sink: impl io::Write + Send) -> Result<(Summary, Meters), Failure> {
    let threads = NonZeroUsize::new(threads).ok_or("no threads")?;
    let meters = Meters::new();
    let summary = Compressor::new().level(level).threads(threads).meters(&meters).compress(data, sink)?;
    Ok((summary, meters))
}

fn compressing(data: &[u8], level: Level, threads: usize, rounds: usize) -> Result<(), Failure> {
    let (best, (summary, meters)) = best(rounds, || run(data, level, threads, io::sink()))?;
    println!(
        "compress {level:?} on {threads}: {} in, 1/{:.4} | working {:?}, reading {:?}, waiting for source {:?}, for \
         turn {:?}",
        rate(data.len(), best),
        data.len() as f64 / summary.bytes_out as f64,
        meters.working(),
        meters.reading(),
        meters.waiting_for_source(),
        meters.waiting_for_turn(),
    );
    Ok(())
}

fn inflating(member: &Vec<u8>, summary: &Summary, threads: usize, rounds: usize) -> Result<(), Failure> {
    let count = NonZeroUsize::new(threads).ok_or("no threads")?;
    let (best, ()) = best(rounds, || {
        IndexedInflater::new(&summary.pieces).threads(count).inflate(member, |_| ())?;
        Ok(())
    })?;
    println!("inflate indexed on {threads}: {} out", rate(summary.bytes_in as usize, best));
    Ok(())
}

fn streaming(member: &[u8], data: &[u8], rounds: usize) -> Result<(), Failure> {
    for size in [512, 256 * 1024] {
        let (best, ()) = best(rounds, || {
            let mut inflater = Inflater::new(member);
            let mut buffer = vec![0; size];
            while inflater.read(&mut buffer)? > 0 {}
            inflater.finish()?.nothing_follows()?;
            Ok(())
        })?;
        println!("inflate as a stream, {size} bytes at a time: {} out", rate(data.len(), best));
    }
    Ok(())
}

/// The least elapsed time, the least CPU time, and the result that came with the former.
fn best<T>(rounds: usize, mut run: impl FnMut() -> Result<T, Failure>) -> Result<((Duration, Duration), T), Failure> {
    let mut best: Option<(Duration, T)> = None;
    let mut least_cpu = Duration::MAX;
    for _ in 0..rounds.max(1) {
        let (start, cpu) = (Instant::now(), cpu_time());
        let result = run()?;
        let took = start.elapsed();
        least_cpu = least_cpu.min(cpu_time().saturating_sub(cpu));
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, result));
        }
    }
    best.map(|(took, result)| ((took, least_cpu), result)).ok_or_else(|| "no rounds".into())
}

/// User and system time of all threads so far, ended ones included; zero where there is no /proc.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn rate(bytes: usize, (time, cpu): (Duration, Duration)) -> String {
    format!(
        "{:.3} s (CPU {:.2} s), {:.0} MB/s",
        time.as_secs_f64(),
        cpu.as_secs_f64(),
        bytes as f64 / 1e6 / time.as_secs_f64()
    )
}
