package contracts

const MaxState = int64(maxState)
