// This file switches machines and waits for the tasks that do it.

package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// starter starts a task.
type starter func(ctx context.Context, v *visit) (ref, error)

// PowerOn starts the machine. One that runs is left alone.
func (d *Driver) PowerOn(ctx context.Context, vm string) error {
	r, err := d.vm(ctx, vm)
	if err != nil {
		return fmt.Errorf("switching %s on: %w", vm, err)
	}
	err = d.do(ctx, func(ctx context.Context, v *visit) (ref, error) {
		res, err := methods.PowerOnVM_Task(ctx, v, &types.PowerOnVM_Task{This: r})
		if err != nil {
			return ref{}, err
		}
		return res.Returnval, nil
	})
	return wrap("switching "+vm+" on", already(err, types.VirtualMachinePowerStatePoweredOn))
}

// PowerOff ends the machine as the power switch does. One that is off is left alone.
func (d *Driver) PowerOff(ctx context.Context, vm string) error {
	r, err := d.vm(ctx, vm)
	if err != nil {
		return fmt.Errorf("switching %s off: %w", vm, err)
	}
	err = d.do(ctx, func(ctx context.Context, v *visit) (ref, error) {
		res, err := methods.PowerOffVM_Task(ctx, v, &types.PowerOffVM_Task{This: r})
		if err != nil {
			return ref{}, err
		}
		return res.Returnval, nil
	})
	return wrap("switching "+vm+" off", already(err, types.VirtualMachinePowerStatePoweredOff))
}

// Reset presses the reset button. A machine that is off is switched on: what is asked for is one that starts anew.
func (d *Driver) Reset(ctx context.Context, vm string) error {
	r, err := d.vm(ctx, vm)
	if err != nil {
		return fmt.Errorf("resetting %s: %w", vm, err)
	}
	var power string
	err = d.api.call(ctx, func(ctx context.Context, v *visit) error {
		found, err := retrieve(ctx, v, want{[]ref{r}, []string{"runtime.powerState"}})
		power = found[r].text("runtime.powerState")
		return err
	})
	if err != nil {
		return fmt.Errorf("looking whether %s is on: %w", vm, err)
	}
	if power == string(types.VirtualMachinePowerStatePoweredOff) {
		return d.PowerOn(ctx, vm)
	}
	err = d.do(ctx, func(ctx context.Context, v *visit) (ref, error) {
		res, err := methods.ResetVM_Task(ctx, v, &types.ResetVM_Task{This: r})
		if err != nil {
			return ref{}, err
		}
		return res.Returnval, nil
	})
	return wrap("resetting "+vm, err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// already takes the fault that says that the machine is in the wanted state for success.
func already(err error, wanted types.VirtualMachinePowerState) error {
	var f *types.InvalidPowerState
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err, &f); ok && f.ExistingState == wanted {
		return nil
	}
	return err
}

// do starts a task and waits until it has ended or ctx has. A task that goes on is drivers.ErrStillRunning.
func (d *Driver) do(ctx context.Context, start starter) error {
	var task ref
	err := d.api.callFor(ctx, taskBound, func(ctx context.Context, v *visit) (err error) {
		task, err = start(ctx, v)
		return err
	})
	if err != nil {
		if _, absent := gone(err); absent {
			d.place.Lose()
		}
		return err
	}
	trouble := ""
	for {
		info, err := d.taskInfo(ctx, task)
		switch {
		case err == nil:
			trouble = ""
			if info.State == types.TaskInfoStateSuccess {
				return nil
			}
			if info.State == types.TaskInfoStateError {
				return taskError(info.Error)
			}
		case ctx.Err() == nil:
			if _, absent := gone(err); absent {
				return fmt.Errorf("the server no longer knows its task %s: %w", task.Value, err)
			}
			trouble = " and the API " + cause(err) // the task may well go on: only its end, or the caller's, ends the wait
		}
		if !drivers.Wait(ctx, everyTask) {
			return fmt.Errorf("task %s%s: %w (%v)", task.Value, trouble, drivers.ErrStillRunning, context.Cause(ctx))
		}
	}
}

func (d *Driver) taskInfo(ctx context.Context, task ref) (types.TaskInfo, error) {
	var info types.TaskInfo
	err := d.api.call(ctx, func(ctx context.Context, v *visit) error {
		found, err := retrieve(ctx, v, want{[]ref{task}, []string{"info"}})
		info = get[types.TaskInfo](found[task], "info")
		return err
	})
	return info, err
}

// taskError makes the fault of a task an error that says what the fault says.
func taskError(f *types.LocalizedMethodFault) error {
	if f == nil || f.Fault == nil {
		return fmt.Errorf("the task failed: %s", faultText(f))
	}
	return fmt.Errorf("the task failed: %s: %w", faultText(f), soap.WrapVimFault(f.Fault))
}
