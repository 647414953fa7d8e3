//! Walker's alias table: a choice by weight in constant time.

/// One cell: with probability `threshold` the cell itself, else `alias`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AliasCell {
    /// In [0, 1].
    pub threshold: f32,
    /// Another cell.
    pub alias: u32,
}

/// Builds the table with Vose's method (1991, "A Linear Algorithm for Generating Random Numbers with a Given Distribution").
/// Weights must be finite and not negative. Returns the sum of the weights too; where it is 0, the choice is uniform.
pub fn alias_table(weights: &[f32]) -> (Vec<AliasCell>, f64) {
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let own = |i: usize| AliasCell { threshold: 1.0, alias: i as u32 };
    let mut cells: Vec<AliasCell> = (0..weights.len()).map(own).collect();
    if sum <= 0.0 {
        return (cells, 0.0);
    }
    let scale = weights.len() as f64 / sum;
    let mut scaled: Vec<f64> = weights.iter().map(|&weight| f64::from(weight) * scale).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..weights.len() as u32).partition(|&i| scaled[i as usize] < 1.0);
    while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
        small.pop();
        cells[poor as usize] = AliasCell { threshold: scaled[poor as usize] as f32, alias: rich };
        scaled[rich as usize] -= 1.0 - scaled[poor as usize];
        if scaled[rich as usize] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    // What is left is full but for rounding. A cell of weight 0 that is left over must not be chosen all the same.
    for &i in &small {
        if weights[i as usize] == 0.0
            && let Some(other) = weights.iter().position(|&weight| weight > 0.0)
        {
            cells[i as usize] = AliasCell { threshold: 0.0, alias: other as u32 };
        }
    }
    (cells, sum)
}

#[cfg(test)]
mod tests {
    use super::alias_table;

    #[test]
    fn chooses_each_by_its_weight() {
        let weights = [3.0, 0.0, 1.0, 0.5, 0.0, 7.5, 1.0e-6];
        let (cells, sum) = alias_table(&weights);
        let mut chance = vec![0.0_f64; weights.len()];
        for (i, cell) in cells.iter().enumerate() {
            chance[i] += f64::from(cell.threshold) / weights.len() as f64;
            chance[cell.alias as usize] += (1.0 - f64::from(cell.threshold)) / weights.len() as f64;
        }
        for (weight, chance) in weights.iter().zip(chance) {
            assert!((f64::from(*weight) / sum - chance).abs() < 1e-7, "{weight} is chosen with {chance}");
        }
    }

    #[test]
    fn black_weights_leave_a_uniform_choice() {
        let (cells, sum) = alias_table(&[0.0; 3]);
        assert_eq!(sum, 0.0);
        assert!(cells.iter().all(|cell| cell.threshold == 1.0));
    }
}
